-- Spread the large tables of tracker over partitions, by hash of the run; docs/scaling.md tells when.
-- With the servers stopped and a backup made:
--   psql -v ON_ERROR_STOP=1 -v partitions=16 -d tracker -f partition.sql
-- It is done as a whole or not at all, copies what is there, and needs as much free disk space as the tables take.
\if :{?partitions}
\else
\set partitions 16
\endif
BEGIN;
SELECT set_config('tracker.partitions', :'partitions', true);

DO $$
DECLARE
    parts CONSTANT int := current_setting('tracker.partitions')::int;
    one text;
    columns text;
    definition text;
    definitions text[];
BEGIN
    FOREACH one IN ARRAY ARRAY['segments', 'batches', 'summaries', 'params', 'media', 'captures', 'log_pieces'] LOOP
        -- Keys, references and indexes as they are, under their own names, which later upgrades look for.
        SELECT array_agg(said) INTO definitions FROM (
            SELECT format('ALTER TABLE %I ADD CONSTRAINT %I %s', one, conname, pg_get_constraintdef(oid)) AS said
            FROM pg_constraint WHERE conrelid = one::regclass AND contype IN ('p', 'u', 'f', 'c')
            UNION ALL
            SELECT pg_get_indexdef(indexrelid) FROM pg_index
            WHERE indrelid = one::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        ) AS all_of_them;
        -- Columns that PostgreSQL computes are computed anew.
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
        WHERE attrelid = one::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';

        EXECUTE format('ALTER TABLE %I RENAME TO %I', one, one || '_whole');
        EXECUTE format(
            'CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE)'
            ' PARTITION BY HASH (run_id)', one, one || '_whole');
        FOR part IN 0 .. parts - 1 LOOP
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                one || '_' || part, one, parts, part);
        END LOOP;
        EXECUTE format('INSERT INTO %I (%s) SELECT %s FROM %I', one, columns, columns, one || '_whole');
        EXECUTE format('DROP TABLE %I', one || '_whole');
        FOREACH definition IN ARRAY definitions LOOP
            EXECUTE definition;
        END LOOP;
    END LOOP;
END
$$;
COMMIT;
ANALYZE;
