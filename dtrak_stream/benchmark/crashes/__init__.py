"""Killing at random, again and again: is everything still what it is without kills?"""
