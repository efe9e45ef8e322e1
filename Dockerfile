# tollkeeper's image: one static program, which runs as nobody in particular on a read-only root. /data is what to keep; the signing key lies
# apart from it, in /config (or where signing_key of the configuration says).
#   docker run -v tollkeeper:/data -v tollkeeper-config:/config -p 127.0.0.1:8080:8080 tollkeeper/tollkeeper:0.1.0 serve --api 0.0.0.0:8080
# deploy/images writes the same without an engine.
FROM golang:1.26.8-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/tollkeeper/tollkeeper/internal/cli.release=${VERSION}" -o /out/tollkeeper ./cmd/tollkeeper \
 && mkdir -p /out/data /out/config /out/tmp /out/etc/ssl/certs \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
 && echo "nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin" >/out/etc/passwd \
 && chown 65532:65532 /out/data /out/config \
 && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /out/ /
# In PATH, so that `kubectl exec POD -- tollkeeper …` finds it.
ENV PATH=/ TOLLKEEPER_DATA=/data XDG_CONFIG_HOME=/config
USER 65532:65532
VOLUME ["/data", "/config"]
EXPOSE 4317 4318 8080
ENTRYPOINT ["/tollkeeper"]
