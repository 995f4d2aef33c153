# Needs make, Rust 1.89 or newer, and a C compiler for two of its libraries. What the other targets need
# beside that, they fetch (on Debian or Ubuntu).
#
#   make                                   build the programs and their completions
#   make install PREFIX=… DESTDIR=…        by default below /usr/local
#   make uninstall PREFIX=… DESTDIR=…
#   make static                            the programs without any shared library, in target/static; of the
#                                          system they read /etc/resolv.conf, /etc/hosts and /etc/ssl, if any
#   make deb                               a Debian package, in target/debian
#   make image                             a container image, in target/image (on Debian)
#   make check-packages                    build all of these, and see that they are whole
#   make demo, make test, make bench

PREFIX = /usr/local
DESTDIR =
# Where bash and fish look without being told; zsh does where this directory is in its $fpath.
BASH_DIR = $(PREFIX)/share/bash-completion/completions
ZSH_DIR = $(PREFIX)/share/zsh/site-functions
FISH_DIR = $(PREFIX)/share/fish/vendor_completions.d
MAN_DIR = $(PREFIX)/share/man
DOC_DIR = $(PREFIX)/share/doc/chatto-pipes

CARGO = cargo
CARGO_TARGET_DIR ?= target
# A target triple, where the programs are not for this machine's own libc.
TARGET =
OUT = $(CARGO_TARGET_DIR)/$(if $(TARGET),$(TARGET)/)release
MUSL = $(shell uname -m)-unknown-linux-musl

PROGRAMS = chatto-dump chatto-load chatto-keys chatto-manifest
PAGES = $(wildcard man/*.[157])
EXAMPLES = compose kubernetes prometheus systemd

.PHONY: all install uninstall static deb image check-packages demo test bench

all: $(OUT)/.built

# "make install" as root finds everything built, and needs neither cargo nor a network.
$(OUT)/.built: Cargo.toml Cargo.lock $(shell find src -name '*.rs') examples/completions.rs
	@scripts/need-rust
	$(CARGO) build --release --locked $(if $(TARGET),--target $(TARGET)) --bins --example completions
	$(OUT)/examples/completions $(OUT)/completions
	touch $@

install: all
	install -d $(foreach dir,bin share/man/man1 share/man/man5 share/man/man7,$(DESTDIR)$(PREFIX)/$(dir))
	install -m 755 $(PROGRAMS:%=$(OUT)/%) $(DESTDIR)$(PREFIX)/bin
	for page in $(PAGES); do install -m 644 $$page $(DESTDIR)$(MAN_DIR)/man$${page##*.} || exit; done
	install -d $(foreach dir,$(BASH_DIR) $(ZSH_DIR) $(FISH_DIR) $(EXAMPLES:%=$(DOC_DIR)/examples/%),$(DESTDIR)$(dir))
	for program in $(PROGRAMS); do \
	    install -m 644 $(OUT)/completions/$$program.bash $(DESTDIR)$(BASH_DIR)/$$program && \
	    install -m 644 $(OUT)/completions/_$$program $(DESTDIR)$(ZSH_DIR) && \
	    install -m 644 $(OUT)/completions/$$program.fish $(DESTDIR)$(FISH_DIR) || exit; \
	done
	install -m 644 README.md LICENSE CHANGELOG.md $(DESTDIR)$(DOC_DIR)
	install -m 755 examples/chatto-backup.sh examples/chatto-metrics.sh $(DESTDIR)$(DOC_DIR)/examples
	for dir in $(EXAMPLES); do install -m 644 examples/$$dir/* $(DESTDIR)$(DOC_DIR)/examples/$$dir || exit; done

uninstall:
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%)
	for page in $(PAGES:man/%=%); do rm -f $(DESTDIR)$(MAN_DIR)/man$${page##*.}/$$page; done
	rm -f $(PROGRAMS:%=$(DESTDIR)$(BASH_DIR)/%) $(PROGRAMS:%=$(DESTDIR)$(ZSH_DIR)/_%) $(PROGRAMS:%=$(DESTDIR)$(FISH_DIR)/%.fish)
	rm -rf $(DESTDIR)$(DOC_DIR)

static:
	@scripts/need-rust
	@scripts/install-tools cc musl-gcc
	rustup target add $(MUSL)
	$(CARGO) build --release --locked --target $(MUSL) --bins
	install -D -t $(CARGO_TARGET_DIR)/static $(PROGRAMS:%=$(CARGO_TARGET_DIR)/$(MUSL)/release/%)

deb: all
	scripts/make-deb $(TARGET)

image: all
	@scripts/make-image

check-packages:
	@scripts/check-packages

demo:
	@scripts/demo

test:
	@scripts/test

bench:
	@scripts/bench
