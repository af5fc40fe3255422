"""S3's protocol, pure: who asks (`signatures`), what (`s3_requests`, `request_bodies`), where that lies (`buckets`,
`listing_pages`), and what the answer looks like (`s3_errors`, `xml_answers`).
"""
