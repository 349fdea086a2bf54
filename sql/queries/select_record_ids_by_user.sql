SELECT id FROM records WHERE user_id = %(user_id)s
