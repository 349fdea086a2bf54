DELETE FROM upload_slots WHERE upload_id = %(upload_id)s
