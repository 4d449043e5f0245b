"""Audits of a claim of differential privacy: what scores of canaries prove about epsilon."""
