# `make run` and `make test` need make, Python 3.11 or newer and its pip; `make install` a Debian with systemd.
# Another Python: make run PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv

# Debian's Python has no ensurepip and lets its pip install nothing but into a venv.
pip = $(1) -m pip --python $(2)/bin/python --quiet --disable-pip-version-check install
need_pip = $(1) -m pip --version >/dev/null 2>&1 || \
  { echo "sora-ws needs pip to install itself: apt-get install python3-pip" >&2; exit 1; }
need_root = test "$$(id -u)" = 0 || \
  { echo "make $@ changes $(INSTALLED) and /etc: run it as root" >&2; exit 1; }

# Tests wait more than they compute, so two files run at a time.
PYTEST_ARGS ?= --numprocesses=2 --dist=loadfile

SYSTEM_PYTHON := /usr/bin/python3
INSTALLED     := /opt/sora-ws
UNITS         := /etc/systemd/system
UNIT_FILES    := sora-ws.service sora-ws@.service sora-ws@.service.d/instance.conf sora-ws.target
ENV_FILE      := /etc/sora-ws/sora-ws.env
COMMAND       := /usr/local/bin/sora-ws

# One instance after another, and none behind the first that doesn't come up again.
instances         = systemctl list-units --plain --no-legend 'sora-ws@*.service' | cut -d ' ' -f 1
restart_instances = for unit in $$($(instances)); do systemctl try-restart "$$unit" || exit; done
unless_booted     = test ! -d /run/systemd/system ||

.PHONY: help run test kills lint bench autobahn install uninstall clean

help: ## Show this
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 16

run: $(VENV)/installed ## Start sora-ws on http://localhost:3001, in a virtual environment of its own
	@exec $(VENV)/bin/sora-ws serve

test: $(VENV)/installed-test ## Install what the tests need and run all of them; PYTEST_ARGS=… for some
	@tests/system/debian-packages
	@$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

kills: $(VENV)/installed-test ## Kill a server 200 times under load, over each database, and judge the histories
	@$(VENV)/bin/python -m tests.history.kills --kills 200 --store sqlite
	@$(VENV)/bin/python -m tests.history.kills --kills 200 --store mongo

lint: $(VENV)/installed-dev ## Check format, style, types and the directions of imports
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

bench: $(VENV)/installed ## Measure beside Node's ws, Tornado and a C loop, for an hour; ROWS=… and ROUNDS=… for less
	@$(VENV)/bin/python -m bench $(ROWS) $(if $(ROUNDS),--rounds $(ROUNDS))

autobahn: $(VENV)/installed-test ## Hold the frames against Autobahn's suite, compression too, by each transport
	@$(VENV)/bin/python -m tests.autobahn

clean: ## Remove the virtual environment and all that was built or cached
	@rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("sora-ws needs Python 3.11 or newer, \
	this one is %d.%d. Name another: make $(MAKECMDGOALS) PYTHON=python3.12" % sys.version_info[:2])'
	@$(call need_pip,$(PYTHON))
	@$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/installed: setup.py | $(VENV)/bin/python
	@echo "Installing sora-ws into $(VENV), once; this takes a minute"
	@$(call pip,$(PYTHON),$(VENV)) --editable .
	@touch $@

$(VENV)/installed-%: setup.py | $(VENV)/bin/python
	@echo "Installing sora-ws and its tools ($*) into $(VENV), once; this takes a minute"
	@$(call pip,$(PYTHON),$(VENV)) --editable '.[$*]'
	@touch $@ $(VENV)/installed

install: ## Install or update the systemd service (as root); settings that are there stay
	@$(need_root)
	@$(call need_pip,$(SYSTEM_PYTHON))
	@echo "Installing sora-ws into $(INSTALLED)"
	@rm -rf build
	@$(SYSTEM_PYTHON) -m venv --without-pip $(INSTALLED)
	@$(call pip,$(SYSTEM_PYTHON),$(INSTALLED)) --upgrade --root-user-action=ignore .
	@rm -rf build *.egg-info
	@install -D -m 644 systemd/sora-ws.service $(UNITS)/sora-ws.service
	@install -D -m 644 systemd/sora-ws.service $(UNITS)/sora-ws@.service
	@install -D -m 644 systemd/sora-ws@.service.d/instance.conf $(UNITS)/sora-ws@.service.d/instance.conf
	@install -D -m 644 systemd/sora-ws.target $(UNITS)/sora-ws.target
	@ln -sfn $(INSTALLED)/bin/sora-ws $(COMMAND)
	@test -e $(ENV_FILE) || install -D -m 600 conf/sora-ws.env $(ENV_FILE)
	@$(unless_booted) { systemctl daemon-reload && systemctl try-restart sora-ws && $(restart_instances); }
	@echo "Installed. Settings: $(ENV_FILE)   Start, now and at every boot: systemctl enable --now sora-ws"

uninstall: ## Stop and remove the service; settings, database and videos stay
	@$(need_root)
	@$(unless_booted) { systemctl stop 'sora-ws@*' && systemctl disable --quiet --now sora-ws sora-ws.target; }
	@$(unless_booted) systemctl disable --quiet sora-ws@
	@rm -rf $(INSTALLED) $(COMMAND) $(addprefix $(UNITS)/,$(UNIT_FILES))
	@$(unless_booted) systemctl daemon-reload
	@echo "Removed. Settings and data stay; to remove them too: rm -r $(dir $(ENV_FILE)) /var/lib/private/sora-ws"
