-- depends: 0004_create_idempotency_keys

-- What a user holds while an upload runs is an upload lease; "slot" is an encoder's.
DO $$
BEGIN
    IF to_regclass('upload_leases') IS NULL THEN
        ALTER TABLE upload_slots RENAME TO upload_leases;
        ALTER TABLE upload_leases RENAME CONSTRAINT upload_slots_user_id_fkey TO upload_leases_user_id_fkey;
        ALTER INDEX upload_slots_pkey RENAME TO upload_leases_pkey;
        ALTER INDEX upload_slots_by_upload RENAME TO upload_leases_by_upload;
    END IF;
END $$;

-- Replicas of the version before run on beside the new ones. They know the table by its old name, as an updatable
-- view, for one release; the next release drops it.
CREATE OR REPLACE VIEW upload_slots AS SELECT user_id, number, upload_id, expires_at FROM upload_leases;

-- A table's rights stay with it under its new name. Roles that have rights on rows alone need them on the view too.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT grantee, privilege_type
        FROM information_schema.role_table_grants
        WHERE
            table_schema = current_schema()
            AND table_name = 'upload_leases'
            AND privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        EXECUTE format('GRANT %s ON upload_slots TO %I', granted.privilege_type, granted.grantee);
    END LOOP;
END $$;
