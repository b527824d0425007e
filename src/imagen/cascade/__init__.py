"""Sampling from trained stages: text → small image → larger image → …"""
