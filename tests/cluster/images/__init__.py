"""Container images without a registry or a Docker daemon: made by buildah, handed over as OCI archives."""
