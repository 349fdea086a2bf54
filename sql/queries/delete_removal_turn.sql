DELETE FROM removal_turns WHERE process_id = %(process_id)s
