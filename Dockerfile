# One image with every program of the mesh; compose names the program. Built with BuildKit.
ARG BUILD_IMAGE=rust:1.95.0-bookworm

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
# 1 builds programs that can be profiled.
ARG PPROF=
# The caches keep crates and objects between builds, so the programs leave them within the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    scripts/programs.sh image /image

FROM scratch
COPY --from=build /image /
ENV PATH=/usr/local/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
WORKDIR /data
USER 65532:65532
