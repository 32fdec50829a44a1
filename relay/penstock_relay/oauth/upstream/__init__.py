"""Login through the company's identity provider: who comes in is known there, not here."""
