"""What the papers report of their own networks, on their own data. None of it was reproduced here: those data
are not ours to ship, and on other data and other people's crops the figures mean something else."""

NOT_REPRODUCED = "not reproduced (other data)"

REPORTED: dict[str, dict[str, str]] = {
    "imf": {
        "l1_whole": "0.0283 VFHQ, 0.0417 CelebV-HQ",
        "psnr_whole": "26.86 VFHQ, 25.28 CelebV-HQ",
        "ssim_gauss11_whole": "0.918 VFHQ, 0.849 CelebV-HQ",
        "lpips_alex": "0.0540 VFHQ, 0.1057 CelebV-HQ",
        "fid_inception": "23.35 VFHQ, 53.22 CelebV-HQ",
    },
    "dae_gan": {"ssim_gauss11_whole": "0.73 VoxCeleb1", "fid_inception": "24.8 VoxCeleb1"},
    "latent": {"akd_l2_256": "1.928 VoxCeleb2", "aced_l1": "0.711 VoxCeleb2"},
}
"""Network → figure → value and data set. All are of self-reenactment, but `latent`'s of sequences."""


def reported(network: str, experiment: str, figure: str) -> str:
    """The column of a report; empty where a paper says nothing."""
    theirs = "sequences" if network == "latent" else "self"
    found = REPORTED.get(network, {}).get(figure) if experiment.startswith(theirs) else None
    return f"{found}: {NOT_REPRODUCED}" if found else ""
