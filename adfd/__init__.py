"""adfd: diverse, identity-preserving face ageing in StyleGAN's StyleSpace.

After Ito, Endo and Kanamori, "Age-Dependent Face Diversification via Latent Space Analysis", CGI 2023.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import `Editor` at its first use, since the networks behind it are slow to import."""
    if name == "Editor":
        from adfd.editor import Editor

        return Editor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
