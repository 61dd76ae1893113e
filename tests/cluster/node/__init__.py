"""The full node: all of Kubernetes in namespaces of its own, for Helm, images, volumes and signals."""
