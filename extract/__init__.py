"""Raw video to frame features: decode, frozen CLIP ViT-B/16, one HDF5 file a video."""
