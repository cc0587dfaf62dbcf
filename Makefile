# Zero Loss. `make book` and `make test` work from a bare checkout with Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
INSTALL := $(BIN)/uv pip install --python $(BIN)/python --quiet  # as pip, some minutes faster
PORT ?= 8000
REMOTE ?= origin
RESOLUTION ?= highest  # or lowest-direct: the oldest versions that pyproject.toml allows
CHAPTERS := $(shell grep -l '{code-cell}' $$(grep -o 'book/[a-z_/]*' _toc.yml | sed 's/$$/.md/'))
EXECUTED := $(CHAPTERS:%.md=_build/jupyter_execute/%.ipynb)
# Debian's packages for `make pdf`; the README names them too.
LATEX := latexmk texlive-xetex texlive-fonts-recommended fonts-texgyre fonts-texgyre-math fonts-dejavu-core fonts-freefont-otf

.PHONY: book pdf test coverage bench binder colab serve notebooks zip publish lock lint format clean

book: $(READY)  ## execute every chapter and build the HTML book
	@$(BIN)/jupyter-book build . --warningiserror --nitpick --keep-going
	@echo "The book: file://$(CURDIR)/_build/html/index.html  (or: make serve)"

pdf: $(READY)  ## the book in print: _build/latex/zero_loss.pdf
	@command -v latexmk > /dev/null && command -v xelatex > /dev/null || { \
	  echo "make pdf needs LaTeX. On Debian or Ubuntu: sudo apt-get install $(LATEX)"; exit 1; }
	@$(BIN)/jupyter-book build . --builder latex --warningiserror --nitpick --keep-going
	@cd _build/latex && LATEXOPTS= latexmk -xelatex -interaction=nonstopmode -halt-on-error -silent zero_loss.tex
	@$(BIN)/python tests/pdf.py
	@echo "The book in print: file://$(CURDIR)/_build/latex/zero_loss.pdf"

test: book  ## everything: the package, every notebook again, the site in a browser
	@$(BIN)/python tests/browser.py
	@$(BIN)/python -m pytest tests $(EXECUTED) --nbval --numprocesses 2 --dist loadfile

coverage: $(READY)  ## which lines and branches of zl its tests reach: at least 95 %
	@$(BIN)/coverage run --branch --source zl -m pytest tests/zl
	@$(BIN)/coverage report --show-missing --skip-covered --fail-under 95

bench: $(READY)  ## times and memory beside those of others (ONLY=ntk, pull_back, training or proofs)
	@$(BIN)/python benchmarks/bench.py $(ONLY)

binder: $(READY)  ## what Binder makes of the last commit: chapters opened and run in JupyterLab (ONLY=book/…/….md)
	@$(BIN)/python tests/browser.py
	@$(BIN)/python tests/launch.py --python $(PYTHON) binder $(ONLY)

colab: book  ## published notebooks where there is a kernel and nothing of this book (ONLY=book/…/….md)
	@$(BIN)/python tests/launch.py --python $(PYTHON) colab $(ONLY)

serve: $(READY)  ## serve the built book
	@test -f _build/html/index.html || $(MAKE) book
	@echo "The book: http://localhost:$(PORT)/  (Ctrl-C stops)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

notebooks: book  ## every chapter as an executed .ipynb, in _build/notebooks
	@mkdir -p _build/notebooks && cp $(EXECUTED:_build/jupyter_execute/%=_build/html/_sources/%) _build/notebooks/
	@echo "Notebooks: $(words $(EXECUTED)), in _build/notebooks"

zip: book  ## the book for reading without a network, in _build/zero-loss.zip
	@cd _build && rm -rf zero-loss zero-loss.zip && cp -r html zero-loss
	@cd _build && $(CURDIR)/$(BIN)/python -m zipfile -c zero-loss.zip zero-loss && rm -rf zero-loss
	@echo "Unpack _build/zero-loss.zip and open zero-loss/index.html"

# ZERO_LOSS_REPOSITORY=owner/name gives the pages their launch buttons.
publish: book  ## push the built site, with its notebooks, to the branch gh-pages of REMOTE
	@test -n "$$ZERO_LOSS_REPOSITORY" || { echo "Say whose book it is: make publish ZERO_LOSS_REPOSITORY=owner/name"; exit 1; }
	@$(BIN)/ghp-import --no-jekyll --no-history --force --push --remote $(REMOTE) _build/html
	@echo "Published: the branch gh-pages of $(REMOTE)"

lock: $(READY)  ## compile requirements.txt from pyproject.toml, with versions as RESOLUTION says
	@$(BIN)/uv pip compile pyproject.toml --extra cells --extra book --extra test --extra bench \
	  --universal --python-version 3.11 --resolution $(RESOLUTION) \
	  --fork-strategy fewest --no-emit-index-url --no-annotate --upgrade --quiet \
	  --custom-compile-command "make lock" --output-file requirements.txt

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(READY)
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean:  ## everything that was made, the environment included
	rm -rf .venv _build

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Zero Loss needs Python 3.11 or newer, and %s is %d.%d. Name another: make book PYTHON=python3.12" % (sys.executable, *v[:2]))'
	@echo "Making .venv and installing $$(grep -c == requirements.txt) locked packages (some minutes, once) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet $$(grep ^uv== requirements.txt)
	@$(INSTALL) --compile-bytecode --requirement requirements.txt || $(BIN)/python -m pip install --quiet --requirement requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
