#!/bin/sh
# Takes out of the libraries in the virtual environment $1 what no process of 3T uses. Each image's build ends by
# importing all that its processes import, so that what is missed here is missed there.
set -eu
cd "$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Tests and headers of libraries are for their developers.
find . -type d \( -name tests -o -name test \) -not -path './pyarrow/*' -not -path './numba/*' -prune -exec rm -rf {} +
rm -rf numba/tests numba/cuda/tests llvmlite/tests numpy/_core/include numpy/f2py pyarrow/include pyarrow/src pyarrow/tests
# The MySQL connector runs in its pure mode.
rm -rf _mysql_connector*.so mysql/vendor
# Traces go over HTTP, never over gRPC.
rm -rf grpc opentelemetry/exporter/otlp/proto/grpc
# Arrow writes and reads Parquet on local disks: no Flight, no object stores.
rm -rf pyarrow/libarrow_flight* pyarrow/_flight* pyarrow/libarrow_python_flight* pyarrow/libarrow_s3* pyarrow/*.pyx pyarrow/*.pxi pyarrow/includes
# One library file under three names becomes one file with two links.
for link in pyarrow/*.so; do
  for copy in "$link".*; do
    [ -f "$copy" ] && cmp -s "$link" "$copy" && ln -sf "$(basename "$link")" "$copy"
  done
done
# Of ccxt's venues only ours, and no asyncio: every other one costs memory in each process that imports it.
if [ -d ccxt ]; then
  rm -rf ccxt/async_support ccxt/pro ccxt/prediction
  sed -i -E '/^from ccxt\.[a-z0-9]+ import [a-z0-9]+ /{/ccxt\.hyperliquid /!d}' ccxt/__init__.py
  find ccxt ccxt/abstract -maxdepth 1 -name '*.py' -not -name '__init__.py' -not -name 'hyperliquid.py' -delete
fi
# Symbol tables are for debuggers.
find . -name '*.so*' -type f -exec strip --strip-unneeded {} +
find . -name __pycache__ -prune -exec rm -rf {} +
