# MinIO and its client, built from source: there are no official images of their last releases.
FROM golang:1.26-bookworm AS build
RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags='-s -w' github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c \
 && CGO_ENABLED=0 GOBIN=/out go install -trimpath -ldflags='-s -w' github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9

FROM debian:bookworm-slim
COPY --from=build /out/minio /out/mc /usr/local/bin/
EXPOSE 9000
CMD ["minio", "server", "/data"]
