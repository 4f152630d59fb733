# Underpass alone in an image: one static binary, no shell, an ordinary user. `docker build -t underpass .`
ARG RUST_IMAGE=rust:1.95-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# Static on any architecture. Only the binary itself is told so: what runs while building stays as it is.
RUN cargo rustc --release --locked -p underpass --bin underpass -- -C target-feature=+crt-static \
 && install -d /empty \
 && cp target/release/underpass /underpass

FROM scratch
COPY --from=build /underpass /underpass
# A new volume takes the owner of the directory it is mounted on.
COPY --from=build --chown=65532:65532 /empty /var/lib/underpass
COPY --from=build --chown=65532:65532 /empty /var/lib/underpass-connector
COPY --from=build --chown=65532:65532 /empty /tokens
USER 65532:65532
ENTRYPOINT ["/underpass"]
