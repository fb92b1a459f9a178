"""One file per CRM; each implements `revops_lite.ports.Crm`."""
