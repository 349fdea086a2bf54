-- depends: 0004_create_idempotency_keys

-- A user holds an upload lease while an upload runs. Only an encoder has slots.
DO $$
BEGIN
    IF to_regclass('upload_leases') IS NULL THEN
        ALTER TABLE upload_slots RENAME TO upload_leases;
        ALTER TABLE upload_leases RENAME CONSTRAINT upload_slots_user_id_fkey TO upload_leases_user_id_fkey;
        ALTER INDEX upload_slots_pkey RENAME TO upload_leases_pkey;
        ALTER INDEX upload_slots_by_upload RENAME TO upload_leases_by_upload;
    END IF;
END $$;

-- Replicas of the version before still run beside the new ones, and use the table's old name. This updatable view has
-- that name for one release; the next release drops it.
CREATE OR REPLACE VIEW upload_slots AS SELECT user_id, number, upload_id, expires_at FROM upload_leases;

-- A renamed table keeps its grants. Roles that may only read and write rows need the same grants on the view.
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
