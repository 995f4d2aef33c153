# Both are complete on a fresh Debian or Ubuntu with Rust: what else they need, they fetch.

.PHONY: demo test

demo:
	@scripts/demo

test:
	@scripts/test
