# The image that `make image` makes, for who would rather build it with Docker:
#     docker build -t chatto-pipes:0.1.0 .
# Without rclone and restic: --build-arg EXTRA=
#
# The programs need a C library that is not older than the one that they were built with, so both stages
# are of Debian 12.
ARG NATS=2.15.1

FROM nats:${NATS} AS nats

FROM rust:1-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends dpkg-dev git make
WORKDIR /src
COPY . .
RUN make deb && mv target/debian/*.deb /chatto-pipes.deb

FROM debian:12-slim
ARG EXTRA="rclone restic"
COPY --from=build /chatto-pipes.deb /tmp/
# No versions: a stable release of Debian gets security updates only, and those are wanted.
# hadolint ignore=DL3008,SC2086
RUN apt-get update \
    && apt-get install --yes --no-install-recommends age ca-certificates curl jq openssh-client pigz snooze \
        tini zstd ${EXTRA} /tmp/chatto-pipes.deb \
    && rm -rf /tmp/chatto-pipes.deb /var/lib/apt/lists/* \
    && groupadd --gid 1000 chatto \
    && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash chatto \
    && install --directory --owner 1000 --group 1000 --mode 700 /backup /keys
COPY --from=nats /nats-server /usr/local/bin/
COPY examples/chatto-backup.sh /usr/local/bin/chatto-backup
COPY examples/chatto-metrics.sh /usr/local/bin/chatto-metrics
LABEL org.opencontainers.image.title="chatto-pipes" \
    org.opencontainers.image.licenses="MIT"
USER 1000:1000
WORKDIR /home/chatto
# Every process of a pipe is told of a signal, and none is left behind.
ENTRYPOINT ["tini", "-g", "--"]
CMD ["chatto-backup"]
