# hb: both programs, and nothing else. `docker build -t hb .`; docs/docker.md.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /hb
COPY . .
RUN scripts/static /root-of-image/usr/local/bin
# The state directory belongs to the user: a fresh volume gets owner and mode from here.
RUN cd /root-of-image && mkdir -p etc tmp var/lib/hb && chmod 1777 tmp && chmod 700 var/lib/hb \
  && echo 'hb:x:65532:65532:hb:/var/lib/hb:/nologin' > etc/passwd && echo 'hb:x:65532:' > etc/group \
  && chown 65532:65532 var/lib/hb

FROM scratch
LABEL org.opencontainers.image.title="hb" \
  org.opencontainers.image.description="Heartbeats for fleets of AI agents: hbsidecar and hbmonitor" \
  org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /root-of-image /
USER 65532:65532
ENV PATH=/usr/local/bin HOME=/var/lib/hb HB_STATE_DIR=/var/lib/hb HB_LISTEN=0.0.0.0:7410
VOLUME /var/lib/hb
EXPOSE 7410
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["hbmonitor", "healthcheck"]
CMD ["hbmonitor"]
