# One image for all parts: /weir (the entry point) and /weir-agent. Nothing else
# is in it. Build for several architectures with docker buildx build --platform.
ARG VERSION=0.1.0
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETARCH
ARG VERSION
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The same source gives the same bytes: no paths, no build id, no cgo.
RUN CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -buildid= -X github.com/weirstream/weir/internal/status.release=$VERSION" -o /out/ ./cmd/weir ./cmd/weir-agent

FROM scratch
ARG VERSION
LABEL org.opencontainers.image.title="weir" \
      org.opencontainers.image.description="The latency of every HTTP request, as a stream" \
      org.opencontainers.image.source="https://github.com/weirstream/weir" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /out/ /
ENV PATH=/
# Only weir-agent needs root: whoever runs it says so.
USER 65532:65532
ENTRYPOINT ["/weir"]
