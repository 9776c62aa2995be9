"""Video files to exact frames: probe, choice of the decoder, decoding in processes of their own."""
