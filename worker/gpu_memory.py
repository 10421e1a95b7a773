"""Limits the GPU memory that TensorFlow uses."""

from contextlib import suppress


def limit_gpu_memory(memory: int | None) -> None:
    """Limit TensorFlow's memory on each GPU to `memory` MiB, which TensorFlow reserves at once.

    Without a limit, TensorFlow reserves memory only as needed. CUDA's own libraries use further memory.
    """
    import tensorflow as tf

    with suppress(RuntimeError):  # Raised if an earlier engine of this process has used the devices.
        for gpu in tf.config.list_physical_devices("GPU"):
            if memory is None:
                tf.config.experimental.set_memory_growth(gpu, True)
            else:
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory)
                tf.config.set_logical_device_configuration(gpu, [limit])
