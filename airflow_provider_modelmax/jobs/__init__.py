"""The life of one job, from request to videos. Operators and HTTP are not known here."""
