"""The ModelMax hook, its connection and its transports."""
