"""From a notebook source to an executed notebook, and from executed notebooks to the pages of the book."""
