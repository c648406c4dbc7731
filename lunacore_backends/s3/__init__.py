"""Object stores that speak S3: MinIO, AWS S3, SeaweedFS, Ceph, R2 and their kin; needs the extra ``s3``."""
