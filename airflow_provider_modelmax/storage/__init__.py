"""Bytes become a whole, checked object in a store, or nothing. ModelMax is not known here."""
