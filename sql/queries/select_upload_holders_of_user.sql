-- Finds the processes that hold a user's uploads.
SELECT DISTINCT holder
FROM upload_leases
WHERE user_id = %(user_id)s AND holder IS NOT NULL AND expires_at > now()
