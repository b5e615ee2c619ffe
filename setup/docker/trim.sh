#!/bin/sh
# Takes out of the libraries in the virtual environment $1 what no process of 3T uses. Each image's build ends by
# importing all that its processes import, so that what is missed here is missed there.
set -eu
# Of ccxt's dependencies those of its asyncio, which is taken out below, too; of OpenTelemetry's exporters gRPC: traces
# go over HTTP.
python -m pip --python "$1/bin/python" uninstall --quiet --yes \
  opentelemetry-exporter-otlp opentelemetry-exporter-otlp-proto-grpc grpcio \
  aiohttp aiohttp-fast-zlib aiohappyeyeballs aiosignal frozenlist multidict propcache yarl zlib-ng
# Only what serves HTTP and signs makes use of ccxt's other two; their layer brings them.
[ -x "$1/bin/uvicorn" ] || python -m pip --python "$1/bin/python" uninstall --quiet --yes uvloop coincurve
# A shell for AMQP brokers, with a terminal library and its tables of Unicode.
python -m pip --python "$1/bin/python" uninstall --quiet --yes click-repl prompt-toolkit wcwidth
cd "$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# Tests are for a library's developers; nothing here has a graphics card.
find . -type d \( -name tests -o -name test -o -name SelfTest \) -not -path './pyarrow/*' -not -path './numba/*' \
  -prune -exec rm -rf {} +
rm -rf numba/tests numba/cuda llvmlite/tests pyarrow/tests sqlalchemy/testing alembic/testing \
  numpy/_core/*_tests.*.so numpy/_core/_simd.*.so numpy/f2py
# So are sources of compiled modules, headers, stubs, and what a browser's debugger reads.
find . -type f \( -name '*.c' -o -name '*.cc' -o -name '*.cpp' -o -name '*.h' -o -name '*.hpp' -o -name '*.a' \
  -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' -o -name '*.proto' -o -name '*.po' -o -name '*.map' \) -delete
# The MySQL connector runs in its pure mode, without asyncio and without Django.
rm -rf _mysql_connector*.so mysql/vendor mysql/connector/aio mysql/connector/django
# Databases that are not ours, Pydantic's former interface, Numba's threads: the kernels run on one.
rm -rf sqlalchemy/dialects/mssql sqlalchemy/dialects/oracle alembic/ddl/mssql.py alembic/ddl/oracle.py pydantic/v1 \
  numba/np/ufunc/omppool.*.so numba/np/ufunc/tbbpool.*.so
[ ! -d alembic ] || sed -i -E '/^from \. import (mssql|oracle)$/d' alembic/ddl/__init__.py
sed -i '/register_repl/d' celery/bin/amqp.py
# Arrow writes and reads Parquet on local disks: no Flight, no object stores, no ORC.
rm -rf pyarrow/libarrow_flight* pyarrow/_flight* pyarrow/libarrow_python_flight* pyarrow/libarrow_s3* pyarrow/src \
  pyarrow/_s3fs.* pyarrow/_gcsfs.* pyarrow/_azurefs.* pyarrow/_hdfs.* pyarrow/_orc.* pyarrow/_dataset_orc.*
# One library file under three names becomes one file with two links.
for link in pyarrow/*.so; do
  for copy in "$link".*; do
    [ -f "$copy" ] && cmp -s "$link" "$copy" && ln -sf "$(basename "$link")" "$copy"
  done
done
# Of ccxt's venues only ours, and no asyncio: every other one costs memory in each process that imports it.
rm -rf ccxt/async_support ccxt/pro ccxt/prediction
sed -i -E '/^from ccxt\.[a-z0-9]+ import [a-z0-9]+ /{/ccxt\.hyperliquid /!d}' ccxt/__init__.py
find ccxt ccxt/abstract -maxdepth 1 -name '*.py' -not -name '__init__.py' -not -name 'hyperliquid.py' -delete
# Of the languages that a terminal can colour only ours.
find pygments/lexers -name '*.py' -not -name __init__.py -not -name _mapping.py -not -name python.py -not -name special.py -delete
# Symbol tables are for debuggers. What has none is left as it is: strip changes some files each time, and a file
# that changed is in the next image's layer, too.
find . -name '*.so*' -type f -exec sh -c 'for file; do
  if readelf --wide --sections "$file" | grep -q "\.symtab"; then strip --strip-unneeded "$file"; fi
done' sh {} +
find . -name __pycache__ -prune -exec rm -rf {} +
