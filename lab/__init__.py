"""The laboratory: set-up, throwaway clusters and the demo. For developers; not part of the installed package."""
