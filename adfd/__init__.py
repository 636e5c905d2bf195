"""adfd: diverse, identity-preserving face ageing in StyleGAN's StyleSpace.

After Ito, Endo and Kanamori, "Age-Dependent Face Diversification via Latent Space Analysis", CGI 2023.
"""

__version__ = "0.1.0"
