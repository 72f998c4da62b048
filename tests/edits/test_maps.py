from neuronedit.edits import FORMER_NAMES, MAPS


def test_former_names_lead_to_maps_and_are_no_names_of_today():
    assert set(FORMER_NAMES.values()) <= set(MAPS)
    assert not set(FORMER_NAMES) & set(MAPS)
