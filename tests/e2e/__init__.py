"""The whole line on a real node: Helm, kubectl, our images, real senders, files on a volume."""
