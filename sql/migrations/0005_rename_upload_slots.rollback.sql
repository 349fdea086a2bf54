DO $$
BEGIN
    IF to_regclass('upload_leases') IS NOT NULL THEN
        DROP VIEW IF EXISTS upload_slots;
        ALTER INDEX upload_leases_by_upload RENAME TO upload_slots_by_upload;
        ALTER INDEX upload_leases_pkey RENAME TO upload_slots_pkey;
        ALTER TABLE upload_leases RENAME CONSTRAINT upload_leases_user_id_fkey TO upload_slots_user_id_fkey;
        ALTER TABLE upload_leases RENAME TO upload_slots;
    END IF;
END $$;
