"""The thread that receives: one TCP connection, of bytes and silence; it knows no frames and no disk."""
