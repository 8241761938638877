"""TensorBoard's event files, graphs, histograms and projector files, written without TensorBoard."""
