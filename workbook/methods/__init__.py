"""The methods that the chapters teach, for later chapters and labs to import."""
