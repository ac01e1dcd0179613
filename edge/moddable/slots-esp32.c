/**
 * What the SDK (8.2) does not say of ESP-IDF's application slots: their names and size, whether what runs is on trial, and how that
 * ends (ESP-IDF, "Over The Air Updates", app rollback; CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE). For slots-esp32.js.
 */

#include "xsmc.h"
#include "mc.xs.h"
#include "app_update/include/esp_ota_ops.h"
#include "esp_system.h"

/** Of the slot that an image would go into; 0: there is none. */
void xs_kith_slot_bytes(xsMachine *the)
{
	const esp_partition_t *spare = esp_ota_get_next_update_partition(NULL);
	const esp_partition_t *running = esp_ota_get_running_partition();
	xsmcSetInteger(xsResult, spare == NULL || spare == running ? 0 : (int)spare->size);
}

/** The name of the spare slot, or of the one that runs. */
void xs_kith_slot_label(xsMachine *the)
{
	const esp_partition_t *slot = xsmcToBoolean(xsArg(0))
		? esp_ota_get_next_update_partition(NULL) : esp_ota_get_running_partition();
	if (slot == NULL)
		xsUnknownError("no slot");
	xsmcSetString(xsResult, (char *)slot->label);
}

/** A board flashed over serial has no state: it is not on trial. */
void xs_kith_slot_on_trial(xsMachine *the)
{
	esp_ota_img_states_t state;
	int known = esp_ota_get_state_partition(esp_ota_get_running_partition(), &state) == ESP_OK;
	xsmcSetBoolean(xsResult, known && state == ESP_OTA_IMG_PENDING_VERIFY);
}

void xs_kith_slot_confirm(xsMachine *the)
{
	if (esp_ota_mark_app_valid_cancel_rollback() != ESP_OK)
		xsUnknownError("the slot cannot be confirmed");
}

/** Does not return where there is something to go back to. */
void xs_kith_slot_roll_back(xsMachine *the)
{
	esp_ota_mark_app_invalid_rollback_and_reboot();
	xsUnknownError("no former firmware to go back to");
}

void xs_kith_restart(xsMachine *the)
{
	esp_restart();
}
