"""Ways in which incidents are told: by mail and by webhook."""
