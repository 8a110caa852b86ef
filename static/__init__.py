"""The web client: plain files, installed as package data and served by `signaling`."""
