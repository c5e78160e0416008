# The production image: one static-enough binary, no development mode, no shell tricks.
FROM rust:1.95-bookworm AS build
WORKDIR /build
# All of it (but for `.dockerignore`): cargo wants every declared target to exist, those it does not build as well.
COPY . .
RUN cargo build --release --locked --no-default-features --bin oauth-manager

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin oauth-manager
COPY --from=build /build/target/release/oauth-manager /usr/local/bin/oauth-manager
# Answers of providers wait here while the database is away: keep it on a volume.
RUN install -d -o 10001 -g 10001 -m 700 /var/lib/oauth-manager
VOLUME /var/lib/oauth-manager
USER 10001
ENV OAUTH_MANAGER__SERVER__LISTEN=0.0.0.0:8002
EXPOSE 8002
# SIGTERM drains what is in flight; give it the 30 s it may take.
STOPSIGNAL SIGTERM
ENTRYPOINT ["oauth-manager"]
CMD ["serve"]
