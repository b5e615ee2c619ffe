# 3T: `make help` lists what there is. Every target first makes the checkout ready (setup/native/bootstrap.sh),
# which takes well under a second when it is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
UV_VERSION := 0.13.8
UV := .local/tools/bin/uv

# Whether a variable that is yes or no says yes; empty is no.
wants = $(filter-out no,$($1))

# Options of `make demo`; empty ones are not passed.
DURATION ?=
DATA ?=
SPEED ?=
DEMO_OPTIONS = $(if $(DURATION),--duration '$(DURATION)') $(if $(SPEED),--speed '$(SPEED)') \
	$(if $(call wants,RESEARCH),--research) $(foreach file,$(DATA),--data '$(file)')

##@ Try it: everything on this machine

.PHONY: help
help: ## This list
	@[ -t 1 ] && [ -z "$${NO_COLOR:-}" ] && bold=$$'\033[1m' blue=$$'\033[36m' off=$$'\033[0m'; \
	awk -v bold="$${bold:-}" -v blue="$${blue:-}" -v off="$${off:-}" 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "%s%s%s%s\n", n++ ? "\n" : "", bold, substr($$0, 5), off } \
	  /^[a-z-]+:.*## / { printf "  %s%-16s%s %s\n", blue, $$1, off, $$2 }' $(MAKEFILE_LIST)

.PHONY: bootstrap
bootstrap: ## Make this checkout ready: .venv with locked requirements, Redis and MariaDB as programs
	@setup/native/bootstrap.sh

.PHONY: demo
demo: bootstrap ## The whole platform on paper, with a live view [DURATION=secs] [DATA=files] [SPEED=factor] [RESEARCH=yes]
	@exec $(PYTHON) -m demo $(DEMO_OPTIONS)

.PHONY: demo-stop
demo-stop: bootstrap ## Stop a demo that runs elsewhere, or clear what a killed one left behind
	@exec $(PYTHON) -m demo --stop

.PHONY: demo-clean
demo-clean: bootstrap ## Forget the demo's runs, positions, orders and secrets
	@exec $(PYTHON) -m demo --clean

.PHONY: llen
llen: bootstrap ## Messages waiting in the demo's queues (redis-cli LLEN)
	@conf=.local/demo/redis.conf; [ -r $$conf ] || { echo "llen: there is no demo here; start one with 'make demo'" >&2; exit 2; }; \
	export REDISCLI_AUTH="$$(sed -n 's/^requirepass "\(.*\)"/\1/p' $$conf)"; port="$$(sed -n 's/^port //p' $$conf)"; \
	for queue in high_priority low_priority; do printf '%s ' $$queue; redis-cli -e -p "$$port" LLEN $$queue; done

.PHONY: paper-exchange
paper-exchange: bootstrap ## The local exchange alone; options after ARGS=
	@exec $(PYTHON) -m paper_exchange $(ARGS)

##@ Look and act by hand: on the demo while one runs, else on the containers

# Commands by hand act on what T3_CONFIG and T3_SECRETS name, else on the demo, else on the containers of this folder.
BY_HAND := setup/install/by_hand.sh

.PHONY: balance
balance: ## The account's balance and positions as MariaDB knows them, with their age
	@exec $(BY_HAND) celery_worker_high balance_report

.PHONY: why
why: ## Why there was an order, or none: SYMBOL=BTC or ORDER=intent or client order id
	@[ -n "$(SYMBOL)$(ORDER)" ] || { echo "why: of what? make why SYMBOL=BTC, or make why ORDER=BTC:17:close" >&2; exit 2; }
	@exec $(BY_HAND) celery_worker_high worker.cli why $(if $(SYMBOL),--symbol '$(SYMBOL)') $(if $(ORDER),--order '$(ORDER)')

.PHONY: risk
risk: ## Kill switch, day, account and limits of the order gateway
	@exec $(BY_HAND) order-gateway order_gateway.cli risk

.PHONY: reconcile
reconcile: ## Bring the account to its target now [DRY=yes: only say what would be done]
	@exec $(BY_HAND) celery_worker_high worker.cli reconcile $(if $(call wants,DRY),--dry-run)

.PHONY: kill-switch
kill-switch: ## Forbid new exposure, or allow it again: DO=set|lift REASON=text
	@[ -n "$(DO)" ] || { echo "kill-switch: say what to do: make kill-switch DO=set REASON='strange fills'" >&2; exit 2; }
	@exec $(BY_HAND) order-gateway order_gateway.cli kill-switch $(DO) --reason "$${REASON:-}"

.PHONY: flatten
flatten: ## Cancel resting orders, close positions, set the kill switch: REASON=text [SYMBOL=BTC]
	@exec $(BY_HAND) order-gateway order_gateway.cli flatten $(if $(SYMBOL),--symbol '$(SYMBOL)') --reason "$${REASON:-}"

.PHONY: cancel-all
cancel-all: ## Cancel resting orders; positions stay: REASON=text
	@exec $(BY_HAND) order-gateway order_gateway.cli cancel-all --reason "$${REASON:-}"

.PHONY: resume
resume: ## Let a paused symbol open positions again: SYMBOL=BTC REASON=text
	@[ -n "$(SYMBOL)" ] || { echo "resume: which symbol? make resume SYMBOL=BTC REASON='closed by hand'" >&2; exit 2; }
	@exec $(BY_HAND) order-gateway order_gateway.cli resume '$(SYMBOL)' --reason "$${REASON:-}"

.PHONY: alert-test
alert-test: bootstrap ## Send one message to every channel of alerts.urls in secrets.yml
	@exec $(PYTHON) -m shared.alerts.cli test

##@ Containers

# The container deployment needs Docker alone, so these targets do not make the checkout ready.
COMPOSE := setup/install/compose.sh

.PHONY: install
install: ## The whole platform in containers: prepare, build, migrate, start, wait until it is healthy
	@exec $(COMPOSE) install

.PHONY: status
status: ## What is healthy, in the words of its probe
	@exec $(COMPOSE) status

.PHONY: logs
logs: ## The last log lines [SERVICE=order-gateway] [TAIL=100] [FOLLOW=yes]
	@TAIL='$(TAIL)' FOLLOW='$(FOLLOW)' exec $(COMPOSE) logs '$(SERVICE)'

.PHONY: restart
restart: ## Put changes of config.yml to use
	@exec $(COMPOSE) restart

.PHONY: scale
scale: ## Number of iteration workers, WORKERS=4
	@exec $(COMPOSE) scale '$(WORKERS)'

.PHONY: add-symbol
add-symbol: ## Trade one more coin, SYMBOL=AVAX
	@exec $(COMPOSE) add-symbol '$(SYMBOL)'

.PHONY: backup
backup: ## Database, audit trail and paper state into a folder [TO=backups/…]
	@TO='$(TO)' exec $(COMPOSE) backup

.PHONY: restore
restore: ## Replace all of that by a backup, FROM=backups/… YES=yes
	@YES='$(YES)' exec $(COMPOSE) restore '$(FROM)'

.PHONY: migrate
ifdef T3_CONFIG
migrate: bootstrap
	@exec $(PYTHON) -m alembic -c database/alembic.ini upgrade head
else
migrate: ## Bring the schema up to date: of the containers, or of the database that T3_CONFIG and T3_SECRETS name
	@exec $(COMPOSE) migrate
endif

.PHONY: swarm
swarm: ## Several hosts: docker-compose.yml as a stack of Docker Swarm, stack.yml
	@exec $(COMPOSE) swarm

.PHONY: clean
clean: ## Remove this project's containers; its data, too, with VOLUMES=yes
	@VOLUMES='$(VOLUMES)' exec $(COMPOSE) clean

##@ Research

.PHONY: data
data: bootstrap ## Fill the recorder's archive: DATA=files, or from the venue [SYMBOL= FROM= TO= TIMEFRAME=1m REPAIR= REPLACE=]
	@exec $(PYTHON) -m shared.research.data $(if $(DATA),--data $(foreach file,$(DATA),'$(file)')) \
	  $(foreach pair,SYMBOL:symbol FROM:from TO:to TIMEFRAME:timeframe,\
	  $(if $($(firstword $(subst :, ,$(pair)))),--$(lastword $(subst :, ,$(pair))) $($(firstword $(subst :, ,$(pair)))))) \
	  $(if $(call wants,REPAIR),--repair) $(if $(call wants,REPLACE),--replace) $(ARGS)

# Options of `make backtest`; empty ones are not passed.
BACKTEST_OPTIONS = --data $(foreach file,$(DATA),'$(file)') \
	$(foreach pair,SYMBOL:symbol FROM:from TO:to RUNS:runs SEED:seed STRATEGY:strategy INTERVAL:interval,\
	$(if $($(firstword $(subst :, ,$(pair)))),--$(lastword $(subst :, ,$(pair))) $($(firstword $(subst :, ,$(pair)))))) \
	$(if $(call wants,REPAIR),--repair) $(ARGS)

.PHONY: backtest
backtest: bootstrap ## Backtest on recorded prices: DATA=files [SYMBOL= FROM= TO= RUNS= SEED= STRATEGY=providence|sma|rsi]
	@[ -n "$(DATA)" ] || { echo "backtest: name the price files: make backtest DATA='BTC_1m.csv.gz ETH_1m.csv.gz'" >&2; exit 2; }
	@exec $(PYTHON) -m shared.research.backtest $(BACKTEST_OPTIONS)

# Options of `make optimize`; empty ones are not passed.
OPTIMIZE_OPTIONS = --data $(foreach file,$(DATA),'$(file)') \
	$(foreach pair,TRIALS:trials FOLDS:folds WORKERS:workers SYMBOL:symbol FROM:from TO:to RUNS:runs SEED:seed INTERVAL:interval,\
	$(if $($(firstword $(subst :, ,$(pair)))),--$(lastword $(subst :, ,$(pair))) $($(firstword $(subst :, ,$(pair)))))) \
	$(if $(call wants,REPAIR),--repair) $(ARGS)

.PHONY: optimize
optimize: bootstrap ## Search parameters, judged out of sample: DATA=files [TRIALS= FOLDS= WORKERS= RUNS= SEED= FROM= TO=]
	@[ -n "$(DATA)" ] || { echo "optimize: name the price files: make optimize DATA='BTC_1m.csv.gz ETH_1m.csv.gz'" >&2; exit 2; }
	@exec $(PYTHON) -m shared.research.optimize $(OPTIMIZE_OPTIONS)

# The demo, while one runs here, unless T3_CONFIG or T3_SECRETS name another platform.
PLATFORM := if [ -z "$${T3_CONFIG:-}$${T3_SECRETS:-}" ] && [ -r .local/demo/processes.json ]; then \
	  . .local/demo/environment; fi;

.PHONY: twin
twin: bootstrap ## What was lived, replayed: exit code 1 unless the signal is equal to the bit [DAY=] [FROM= TO=]
	@$(PLATFORM) exec $(PYTHON) -m shared.research.twin $(if $(DAY),--day '$(DAY)') $(if $(FROM),--from '$(FROM)') \
	  $(if $(TO),--to '$(TO)') $(ARGS)

##@ Develop

.PHONY: test
test: lint prometheus ## What CI runs: lint, types and all tests, on real Redis and MariaDB that the tests start themselves
	@exec $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: lint
lint: bootstrap ## ruff, format check and mypy; scripts and Dockerfile
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/shellcheck setup/*/*.sh
	@.venv/bin/hadolint setup/docker/Dockerfile
	@.venv/bin/mypy

.PHONY: format
format: bootstrap ## Format the code and fix what can be fixed by itself
	@.venv/bin/ruff check --fix-only .
	@.venv/bin/ruff format .

.PHONY: pre-commit
pre-commit: bootstrap ## Install the commit hooks and run them on every file
	@.venv/bin/pre-commit install
	@.venv/bin/pre-commit run --all-files

.PHONY: bench
bench: bootstrap ## Performance figures, one JSON line each [ONLY=figure]
	@exec $(PYTHON) -m shared.benchmarks $(if $(ONLY),--only $(ONLY))

.PHONY: docs
docs: bootstrap ## Write docs/metrics.md and Grafana's dashboards from the code
	@$(PYTHON) -m shared.metrics_document
	@$(PYTHON) setup/grafana/build_dashboards.py

.PHONY: render-diagrams
render-diagrams: ## Render docs/arch/*.puml to SVG (PlantUML and Graphviz, installed where they are missing)
	@setup/native/diagrams.sh

.PHONY: lock
lock: $(UV) ## Resolve all requirements anew into the lock files [UPGRADE=yes: the newest versions]
	@for lock in "-dev.lock --all-extras" ".lock" "-services.lock --extra services" "-worker.lock --extra worker" \
	    "-recorder.lock --extra recorder" "-research.lock --extra worker --extra recorder --extra research"; do \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(call wants,UPGRADE),--upgrade) \
	    --custom-compile-command "make lock" $$([[ $$lock == -dev* ]] || echo "--constraint requirements-dev.lock") \
	    pyproject.toml -o requirements$$lock; done

.PHONY: prometheus
prometheus: ## Prometheus and amtool as programs, for the demo's metrics and the tests of alert rules and dashboards
	@setup/native/prometheus.sh

.PHONY: collector
collector: ## The OpenTelemetry collector as a program, built with Go, for the test of its configuration
	@setup/native/collector.sh

##@ Long tests

# What a venue does where its documentation is silent; the tests of what trades there hold either way.
VENUE_TESTS := components/tests/order_gateway components/tests/exchange_observer components/tests/take_profit \
	celery-services/tests/reconciliation celery-services/tests/attribution shared/tests/test_exchange_manager.py
OTHER_SWITCHES := 'from paper_exchange.state import SWITCH_CHOICES as c; print(",".join(f"{n}={v[1]}" for n, v in c.items()))'

.PHONY: test-switches
test-switches: bootstrap ## Tests at the venue again, on the other setting of all that its documentation leaves open
	@PAPER_EXCHANGE_SWITCHES="$$($(PYTHON) -c $(OTHER_SWITCHES))" exec $(PYTHON) -m pytest -n 2 --dist loadfile $(VENUE_TESTS) $(ARGS)

# Options of `make chaos`. Ctrl-C, and the same command goes on where it stopped.
SEEDS ?= 5
SEED ?= 1
MATRIX ?= .local/chaos/fault-matrix.md

.PHONY: chaos
chaos: bootstrap ## Seeded faults against the running platform, then a check of all it did [SEEDS=n] [SEED=first] [MATRIX=file]
	@exec $(PYTHON) -m chaos --seeds '$(SEEDS)' --first-seed '$(SEED)' --matrix '$(MATRIX)' $(ARGS)

EXAMPLES ?= 300

.PHONY: fuzz
fuzz: bootstrap ## Long fuzzing of the gateway's API against its OpenAPI description [EXAMPLES=300 of each kind]
	@[[ '$(EXAMPLES)' =~ ^[1-9][0-9]*$$ ]] || { echo "fuzz: EXAMPLES: must be a whole number above 0, found '$(EXAMPLES)'" >&2; exit 2; }
	@T3_FUZZ_EXAMPLES='$(EXAMPLES)' exec $(PYTHON) -m pytest components/tests/order_gateway/test_fuzz.py -q

.PHONY: feed-faults
feed-faults: bootstrap ## Faults and kills of the price feed at full length (six minutes), into docs/market-data.md
	@T3_FEED_FAULTS=full exec $(PYTHON) -m pytest -q components/tests/price_stream_producer/test_faults.py \
	  components/tests/price_sampler/test_restarts.py $(ARGS)

.PHONY: soak
soak: bootstrap ## Stream, sampler and recorder for a day of market time, in minutes [HOURS=24] [SPEED=most]
	@exec $(PYTHON) -m shared.benchmarks.soak $(if $(HOURS),--hours '$(HOURS)') $(if $(SPEED),--speed '$(SPEED)')

$(UV):
	@python3 -m venv .local/tools
	@.local/tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
