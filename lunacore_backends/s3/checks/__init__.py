"""What ``lunacore doctor`` looks at in an S3 bucket, a module for each concern."""
