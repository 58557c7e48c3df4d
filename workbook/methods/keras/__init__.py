"""Methods in Keras 3. Import a module of this package only in a kernel that ``begin("keras")`` started."""
